sms-text = { $token } is your Matrix code
