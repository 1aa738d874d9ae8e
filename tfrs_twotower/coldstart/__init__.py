"""Cold start: answers before there is data, and of users and items that nothing is known of yet."""
