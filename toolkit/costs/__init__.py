"""Pure functions: work and hardware in; seconds, bytes and dollars out."""
