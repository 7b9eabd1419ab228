"""uvicorn as Apidex runs it: connections, overload, and an end at which no request is lost."""
