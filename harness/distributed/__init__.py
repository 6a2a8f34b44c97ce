"""One trial over several processes: who does what (`collective`), sharded weights (`sharding`)."""
