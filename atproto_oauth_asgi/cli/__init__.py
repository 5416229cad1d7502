"""The command line: keys, a look at a deployment, identities, sessions, a demo."""
