"""Simulated worlds with exact ground truth: a tabletop arm, furnished rooms, a street with a surround rig."""
