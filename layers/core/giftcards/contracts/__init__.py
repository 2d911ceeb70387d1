"""Models of everything that crosses a boundary: events, workflow payloads, the supplier's answers."""
