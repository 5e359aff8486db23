"""The pages for people: the chat page with its widget, and the console."""
