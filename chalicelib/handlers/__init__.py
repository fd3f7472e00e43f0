"""Doors: decode, authenticate, call one service method, encode."""
