"""What users of lull import: the transform decorator and the client."""
