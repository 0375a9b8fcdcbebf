sms-text = { $token } ist Ihr Code für Matrix
