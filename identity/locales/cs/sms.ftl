sms-text = { $token } je váš kód pro Matrix
