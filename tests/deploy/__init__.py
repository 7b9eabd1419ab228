"""What runs Apidex elsewhere than in a virtual environment: the image, compose, the cluster."""
