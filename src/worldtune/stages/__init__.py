"""Stages: the way of the data, one program each. The only place that imports rooms."""
