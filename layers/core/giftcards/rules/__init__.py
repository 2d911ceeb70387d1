"""Pure rules: no clock, no network, no AWS. Everything they need is passed in."""
