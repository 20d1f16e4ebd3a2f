"""What takes longer than a test may: thousands of kills, hours of load. The suite runs a short piece of each."""
