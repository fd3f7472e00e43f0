"""What is particular to the real adapters: rest, races, lost replies, keys, and the network."""
