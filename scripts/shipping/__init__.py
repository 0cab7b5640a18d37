"""For maintainers: putting trained networks among the weights that come with the packages."""
