"""Flow control: how hard a provider is pressed, and what happens when it gives way. Decisions here are pure."""
