"""The doors for programs that are written for the SDK of OpenAI."""
