"""What the commands are told: options, deployments and the study, from a TOML file and from flags."""
