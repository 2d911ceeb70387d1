"""What talks to the outside. Adapters alone translate foreign errors, and never let a card or key into one."""
