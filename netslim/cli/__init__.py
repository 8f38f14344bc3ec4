"""Commands that need nothing but the method and what it is recorded in."""
