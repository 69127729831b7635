"""How it is learned. Nothing outside this folder imports Lightning."""
