"""What is answered over HTTP, and how the API describes itself."""
