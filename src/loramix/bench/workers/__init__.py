"""What runs in the peers' own interpreters; started by peer.py, never imported."""
