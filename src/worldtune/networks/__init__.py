"""Networks that several rooms share. Imports the contract only; a room imports its network from here."""
