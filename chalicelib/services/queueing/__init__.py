"""The queueing service: keeps each client's messages until it has fetched them."""
