"""`creatives demo`: a whole deployment in one command, and what it writes."""
