"""Our agent: one warm worker process per slot, supervised, watched and always cleaned up."""
