"""How the bytes of an atlas lie on disk; nothing above `atlas` needs it."""
