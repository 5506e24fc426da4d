"""What leaves Interlock for other people's machines: which addresses may be asked, and connections that keep to it."""
