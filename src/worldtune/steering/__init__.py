"""Driving a world: a persistent session, and the page in which a person steers it. `stages/steer.py` assembles them."""
