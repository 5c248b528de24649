"""The list of users: searched, filtered, sorted and paged by the server."""
