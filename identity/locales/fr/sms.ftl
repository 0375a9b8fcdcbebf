sms-text = { $token } est votre code Matrix
