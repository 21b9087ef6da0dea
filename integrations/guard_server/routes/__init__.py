"""One file a subject; each holds a router and knows no other."""
