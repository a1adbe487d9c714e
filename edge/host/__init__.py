"""The computer that the software runs on: systemd, journald, mounts, sensors and standard output."""
