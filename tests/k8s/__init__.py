"""The manifests: that they agree with the code (pytest), and with Kubernetes and its operators (``python -m tests.k8s``)."""
