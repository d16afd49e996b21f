"""`creatives demo`: run a whole deployment with one command and collect its pictures in a folder."""
