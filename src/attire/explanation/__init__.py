"""What in a photo spoke for an answer: `heat` asks the network, `explain` puts it into words, `picture` draws it."""
