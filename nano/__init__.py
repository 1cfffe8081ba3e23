"""How the shipped nano bases were pre-trained: one command per part, see nano/README.md."""
