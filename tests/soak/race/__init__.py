"""The race: several processes, one store, tokens that have ended, one moment."""
