"""The native API: turns over HTTP, events over Server-Sent Events and WebSocket."""
