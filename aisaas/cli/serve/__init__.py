"""The app with services of your own."""
