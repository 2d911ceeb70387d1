"""Pure rules: no clock, no network, no AWS; everything is passed in."""
