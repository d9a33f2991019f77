"""One run: its folder, checkpoint, optimizer, published weights, figures."""
