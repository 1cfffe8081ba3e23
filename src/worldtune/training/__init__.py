"""The training loop and all that surrounds it. Knows no control, no family and no codec."""
