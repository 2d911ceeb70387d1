"""The protocol of OneClickDz's gift-card API."""
