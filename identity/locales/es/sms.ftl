sms-text = { $token } es su código de Matrix
