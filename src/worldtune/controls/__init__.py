"""Controls: one room for each thing a user steers."""
