"""The home on AWS is put up, changed, looked at and taken down from here: the CDK and CloudFormation do the work."""
