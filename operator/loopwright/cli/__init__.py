"""The command line tool: reads objects with the user's own rights, and says what they mean."""
