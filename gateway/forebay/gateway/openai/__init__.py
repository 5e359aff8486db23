"""The API for programs that use the SDK of OpenAI."""
