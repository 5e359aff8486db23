"""HTTP of the simulated API: connections, requests, and the plans of what is answered."""
